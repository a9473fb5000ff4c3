"""Unfold's and Django's classes for pages, with the type parameters that the stubs give them and the runtime lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin, TabularInline
    from django.core.paginator import Paginator
    from django.forms import ModelForm
else:
    from django.core.paginator import Paginator as DjangoPaginator
    from django.forms import ModelForm as DjangoModelForm
    from unfold.admin import ModelAdmin as UnfoldModelAdmin
    from unfold.admin import TabularInline as UnfoldTabularInline

    class Subscriptable:
        def __class_getitem__(cls, _parameters: object) -> type:
            return cls

    class ModelAdmin(Subscriptable, UnfoldModelAdmin):
        pass

    class TabularInline(Subscriptable, UnfoldTabularInline):
        pass

    class ModelForm(Subscriptable, DjangoModelForm):
        pass

    class Paginator(Subscriptable, DjangoPaginator):
        pass


__all__ = ["ModelAdmin", "ModelForm", "Paginator", "TabularInline"]
